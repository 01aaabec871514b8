"""How fast the page answers: `python -m tests.benchmarks.page` beside a running `python app.py`.

One client after another picture, then sixteen at once for a minute: each uploads a picture and asks `/predict` for the
verdict and the heat map, as a program or a browser does. Every answer is compared with the one given alone.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import httpx
from PIL import Image

from deepfake.data.synthetic import draw_pair

PICTURES = 32


def pictures() -> list[bytes]:
    """Make JPEG files of 256 x 256 px: drawn faces, enlarged."""
    files = []
    for number in range(PICTURES // 2):
        for drawn in draw_pair(7, number):
            file = BytesIO()
            Image.open(BytesIO(drawn)).resize((256, 256)).save(file, "jpeg", quality=90)
            files.append(file.getvalue())
    return files


def ask(client: httpx.Client, number: int, file: bytes) -> tuple[dict, float]:
    """Upload a picture and ask for the verdict; return the answer and the seconds it took."""
    start = time.perf_counter()
    sent = client.post("/gradio_api/upload", files={"files": (f"{number}.jpg", file, "image/jpeg")}).json()[0]
    data = {"data": [{"path": sent, "meta": {"_type": "gradio.FileData"}}]}
    event = client.post("/gradio_api/call/predict", json=data).json()["event_id"]
    kind = ""
    with client.stream("GET", f"/gradio_api/call/predict/{event}") as lines:
        for line in lines.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind in ("complete", "error"):
                assert kind == "complete", line
                return json.loads(line.removeprefix("data: "))[0], time.perf_counter() - start
    raise AssertionError("no answer")


def run(url: str, clients: int, seconds: float, files: list[bytes], alone: list[dict]) -> list[float]:
    """Let clients ask for a time; return what each answer took, in seconds. Stops at the first wrong answer."""
    end = time.perf_counter() + seconds

    def one(number: int) -> list[float]:
        took = []
        with httpx.Client(base_url=url, timeout=60) as client:
            while time.perf_counter() < end:
                chosen = (number + len(took)) % len(files)
                answer, spent = ask(client, chosen, files[chosen])
                assert answer["verdict"] == alone[chosen]["verdict"], (answer, alone[chosen])
                assert abs(answer["p_fake"] - alone[chosen]["p_fake"]) < 1e-6, (answer, alone[chosen])
                took.append(spent)
        return took

    with ThreadPoolExecutor(clients) as pool:
        return [spent for took in pool.map(one, range(clients)) for spent in took]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    files = pictures()
    with httpx.Client(base_url=arguments.url, timeout=60) as client:
        alone = [ask(client, number, file)[0] for number, file in enumerate(files)]
    for clients, seconds in ((1, arguments.seconds / 3), (16, arguments.seconds)):
        took = run(arguments.url, clients, seconds, files, alone)
        percentiles = [1000 * value for value in (statistics.median(took), statistics.quantiles(took, n=20)[-1])]
        rate = len(took) / seconds
        print(f"{clients:2d} clients: {rate:.1f} pictures/s, p50 {percentiles[0]:.0f} ms, p95 {percentiles[1]:.0f} ms")


if __name__ == "__main__":
    main()
