"""The page: upload a picture, read whether it looks real or fake. The same file serves here and on a Space."""

import argparse
import os
import sys
from pathlib import Path

from deepfake.config import home
from deepfake.console import complain, out
from deepfake.data.images import read
from deepfake.detector import CARD_FILE, Detector
from deepfake.errors import DeepfakeError, ImageError

HERE = Path(__file__).resolve().parent
MAX_FILE_SIZE = "20mb"


def load(which: str | None) -> tuple[Detector, str]:
    """Load the model that lies beside this file, as on a Space, or one from the registry.

    Args:
        which: A version, an alias, a run id, an MLflow URI or a path; None for the default.

    Returns:
        The detector and the name to show for it.
    """
    if which is None and (HERE / CARD_FILE).is_file():
        return Detector.load(HERE), "this Space's model"
    from deepfake import registry

    detector = Detector.load(registry.fetch(which or registry.CHAMPION))
    return detector, registry.name_of(detector.card.run_id) or str(which)


def describe(detector: Detector, name: str) -> str:
    """Say in Markdown what the model is and how good it was on its Test images."""
    card = detector.card
    shown = {"AUC": "auc", "balanced accuracy": "balanced_accuracy"}
    measured = ", ".join(f"{label} {card.metrics['test'][key]:.3f}" for label, key in shown.items())
    warning = (
        "  \n**Trained on drawn faces: it knows nothing of real deepfakes.**"
        if card.data["name"] == "synthetic"
        else ""
    )
    return f"**{name}** ({card.model}, trained on {card.data['name']}); on its own test images: {measured}.{warning}"


def build(detector: Detector, name: str):
    """Make the page.

    Args:
        detector: The model to serve.
        name: What to call it.

    Returns:
        A `gradio.Blocks`, not yet launched.
    """
    import gradio as gr

    real, fake = detector.card.class_names

    def open_upload(payload):
        """Read a picture as training does; say what is wrong with a file without naming its place on this machine."""
        try:
            return None if payload is None else read(payload.path)
        except ImageError as error:
            raise gr.Error(f"This file is {error}.", print_exception=False) from None

    def predict(image):
        if image is None:
            raise gr.Error("Choose a picture first.", print_exception=False)
        prediction = detector.predict(image)
        confidences = {real: 1 - prediction.p_fake, fake: prediction.p_fake}
        return f"## {prediction.verdict}\n{prediction.reason(fake)}", confidences

    with gr.Blocks(title="Real or fake?") as page:
        gr.Markdown(f"# Real or fake?\nUpload, paste or photograph a face.\n\n{describe(detector, name)}")
        with gr.Row():
            image = gr.Image(sources=["upload", "clipboard", "webcam"], label="Picture", elem_id="picture", height=360)
            image.preprocess = open_upload  # Gradio's own clips 16-bit pictures to white, and shows paths
            with gr.Column():
                verdict = gr.Markdown("## …", elem_id="verdict")
                scores = gr.Label(label="Confidence", elem_id="scores", show_heading=False)
                button = gr.Button("Real or fake?", variant="primary", elem_id="check")
        gr.Markdown(
            "It can be wrong, above all on pictures made in ways that it was not trained on: this is a probability, "
            "not evidence."
        )
        button.click(predict, image, [verdict, scores], api_name="predict")
    return page.queue(max_size=32)


def main() -> None:
    """Serve the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a version, alias, run id, MLflow URI or path (default: the champion)")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", "7860")))
    arguments = parser.parse_args()
    os.environ.setdefault("DEEPFAKE_HOME", str(home()))
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        detector, name = load(arguments.model)
    except DeepfakeError as error:
        complain(error)
        sys.exit(1)
    out.print(f"Serving {name} on http://{arguments.host}:{arguments.port}  (Ctrl-C ends it)")
    page = build(detector, name)
    page.launch(server_name=arguments.host, server_port=arguments.port, max_file_size=MAX_FILE_SIZE, quiet=True)


if __name__ == "__main__":
    main()
