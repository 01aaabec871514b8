"""The page itself: where a visitor puts pictures, and where the answers appear."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import cv2
import gradio as gr
from gradio import processing_utils, utils

from deepfake.errors import DeepfakeError, ImageError, ModelError
from deepfake.page import answer
from deepfake.page.engine import Engine
from deepfake.page.models import Models
from deepfake.page.pictures import read_picture
from deepfake.page.uploads import Uploads, fetch_nothing, paths

HERE = Path(__file__).resolve().parent
CSS = HERE / "style.css"
EXAMPLES = HERE / "examples"
AT_ONCE, QUEUED = 16, 64  # requests that are worked on, and that wait; more are told that the page is busy
MOST = 200  # files at a time
POLL = 10  # seconds between two looks of an open page at which models there are

INTRODUCTION = (
    "# Real or fake?\nPut in a picture of a face. A neural network says whether it looks real or manipulated."
)
EMPTY = '<div class="df-empty">The answer appears here.<br>Your picture is deleted as soon as it is given.</div>'
EMPTY_TABLE = '<div class="df-empty">A table with a verdict on each picture appears here.</div>'
THEME = gr.themes.Default(
    primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)  # fonts of the visitor's own: nothing is fetched from elsewhere


def build(models: Models) -> gr.Blocks:
    """Make the page.

    Args:
        models: What it serves.

    Returns:
        The page, not yet launched. It also answers `/predict` for programs.
    """
    cv2.setNumThreads(1)  # the visitors share the cores, not the parts of a picture
    gr.set_static_paths([EXAMPLES])
    processing_utils.async_ssrf_protected_download = fetch_nothing
    page = gr.Blocks(title="Real or fake?", analytics_enabled=False)
    page.upload_file_set = uploads = Uploads()
    page.temp_file_sets[0] = uploads
    uploads.watch(Path(utils.get_upload_folder()))
    desk = _Desk(models, uploads)
    with page:
        gr.Markdown(INTRODUCTION, elem_id="title")
        choices = models.choices()
        first = choices[0][1] if choices else None
        model = gr.Dropdown(
            choices, value=first, label="Model", elem_id="model", visible=bool(choices), filterable=False
        )
        with gr.Tab("One picture"):
            _one(desk, model)
        with gr.Tab("Several pictures"):
            _several(desk, model)
        about = gr.Markdown(desk.about(None), elem_id="about")
        model.input(desk.about, model, about, api_visibility="private", show_progress="hidden")
        if choices:
            known = gr.State(choices)
            for look in (page.load, gr.Timer(POLL).tick):
                changed = [model, about, known]
                look(desk.offered, [model, known], changed, api_visibility="private", show_progress="hidden")
    return page.queue(max_size=QUEUED, default_concurrency_limit=AT_ONCE)


class _Desk:
    """What the page's parts call."""

    def __init__(self, models: Models, uploads: Uploads) -> None:
        self._models, self._uploads = models, uploads

    def about(self, key: str | None) -> str:
        engine = self._engine(key)
        return answer.about(engine.detector.card, engine.name)

    def offered(self, key: str | None, known: list) -> tuple[Any, Any, Any]:
        """Renew the list of models, and what is said of the chosen one, where the registry has changed."""
        choices = self._models.choices()
        if choices == known:
            return gr.skip(), gr.skip(), gr.skip()
        return gr.Dropdown(choices), self.about(key), choices

    def show(self, picture: Any, key: str | None) -> tuple[Any, Any]:
        """Judge a picture for a person; the place for the next one is empty again."""
        with self._take(picture) as files:
            if not files:  # the place was emptied, or another event brought the same picture
                return gr.skip(), gr.skip()
            try:
                engine = self._engine(key)
                looks, notes = _look(files[0], engine)
            except DeepfakeError as error:
                return answer.problem(str(error)), None
        return answer.result(looks, engine.detector.card, notes), None

    def predict(self, picture: Any) -> dict[str, Any]:
        """Judge a picture for a program: verdict, confidences and heat map."""
        with self._take(picture) as files:
            if not files:
                raise gr.Error("There is no picture.", print_exception=False)
            try:
                engine = self._engine(None)
                looks, notes = _look(files[0], engine)
            except DeepfakeError as error:
                raise gr.Error(str(error), print_exception=False) from None
        return answer.as_json(looks, engine.detector.card, notes, engine.name)

    def show_many(self, pictures: Any, key: str | None) -> Iterator[tuple[Any, Any]]:
        """Judge many pictures; the table grows."""
        with self._take(pictures) as files:
            try:
                engine = self._engine(key)
            except DeepfakeError as error:
                yield answer.problem(str(error)), None
                return
            rows: list[answer.Row] = []
            for number, file in enumerate(files[:MOST], 1):
                rows.append(_row(file, engine))
                if number % AT_ONCE == 0:
                    yield answer.table(rows, engine.detector.card), gr.skip()
            rows += [answer.Row(file.name, ImageError(f"not looked at: {MOST} at a time")) for file in files[MOST:]]
            yield answer.table(rows, engine.detector.card), None

    @contextmanager
    def _take(self, sent: Any) -> Iterator[list[Path]]:
        """Take what was uploaded, or is an example: what a program sends may name any file of this machine."""
        named = paths(sent)
        with self._uploads.take(named) as files:
            yield files + [path for path in named if path.parent == EXAMPLES]

    def _engine(self, key: str | None) -> Engine:
        try:
            return self._models.get(key)
        except DeepfakeError:  # whose text names places on this machine
            raise ModelError("This model cannot be loaded. Choose another one.") from None


def _look(path: Path, engine: Engine) -> tuple[list[answer.Looked], list[str]]:
    try:
        seen = read_picture(path, engine.detector)
    except ImageError as error:
        raise ImageError(f"This file cannot be judged: {error}.") from None
    views = {"Whole picture": seen.whole} | ({"Face": seen.face} if seen.face else {})
    judged = engine.judge([view.square for view in views.values()])
    looks = [answer.Looked(name, view, *found) for (name, view), found in zip(views.items(), judged, strict=True)]
    return looks, [answer.ANIMATED] if seen.animated else []


def _one(desk: _Desk, model: gr.Dropdown) -> None:
    with gr.Row():
        with gr.Column():
            sources: list[Literal["upload", "webcam", "clipboard"]] = ["upload", "webcam", "clipboard"]
            picture = gr.Image(sources=sources, label="Picture", elem_id="picture", height=320, buttons=[])
            gr.Examples(
                [[str(path)] for path in sorted(EXAMPLES.glob("*.jpg"))],
                picture,
                label="Or try one of these, drawn by code",
            )
        result = gr.HTML(EMPTY, elem_id="answer")
    gr.on(
        [picture.upload, picture.change],  # neither comes for all of: a file, a photograph, a paste, an example
        desk.show,
        [picture, model],
        [result, picture],
        preprocess=False,
        api_visibility="private",
        show_progress_on=result,
        scroll_to_output=True,
        trigger_mode="multiple",
    )
    programs = gr.JSON(visible=False)
    gr.Button(visible=False).click(desk.predict, picture, programs, preprocess=False, api_name="predict")


def _several(desk: _Desk, model: gr.Dropdown) -> None:
    files = gr.File(file_count="multiple", label="Pictures", elem_id="pictures", height=160)
    rows = gr.HTML(EMPTY_TABLE, elem_id="table")
    files.upload(
        desk.show_many,
        [files, model],
        [rows, files],
        preprocess=False,
        api_visibility="private",
        show_progress_on=rows,
    )


def _row(path: Path, engine: Engine) -> answer.Row:
    try:
        picture = read_picture(path, engine.detector)
    except ImageError as error:
        return answer.Row(path.name, error)
    view = picture.face or picture.whole
    note = [answer.ANIMATED] if picture.animated else []
    note += ["The face alone was looked at: it fills little of the picture."] if picture.face else []
    return answer.Row(path.name, engine.judge([view.square])[0][0], " ".join(note))
