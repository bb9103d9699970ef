"""Makes the pictures of the audit in docs/pictures/: digits with planted errors, audited, shown.

python docs/pictures.py

Needs the extra `dev` and a Chromium.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from bowerbird.config import NetworkConfig, ReadConfig
from bowerbird.workflow.auditing import audit_data
from bowerbird.workflow.digits import write_digits

HERE = Path(__file__).parent


def plant(digits: Path) -> None:
    """Two digits moved, one copied to another class, one mirrored copy, one file cut off."""
    threes, sevens = (sorted((digits / name).iterdir()) for name in "37")
    shutil.move(threes[4], digits / "8" / "moved3.png")
    shutil.move(sevens[9], digits / "1" / "moved7.png")
    shutil.copy(threes[12], digits / "5" / "copy3.png")
    mirrored = Image.open(sevens[3]).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.resize((50, 50)).save(digits / "7" / "mirrored.jpg", quality=40)
    whole = threes[20].read_bytes()
    (digits / "3" / "cut.png").write_bytes(whole[: len(whole) // 2])


def main() -> None:
    """Audit, and photograph the page's head and its labels to decide on."""
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as player:
        digits, audit = Path(temporary) / "digits", Path(temporary) / "audit"
        write_digits(digits)
        plant(digits)
        network = NetworkConfig(image_size=96, offline=True)
        print(audit_data(str(digits), ReadConfig(), network, audit))
        binary = shutil.which("chromium") or shutil.which("google-chrome")
        browser = player.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 1150})
        page.goto((audit / "audit.html").as_uri())
        keep(page.screenshot(), "audit-found.png")
        page.click("#start")
        page.select_option("#by-kind", label="Suspect labels (1)")
        page.wait_for_timeout(500)
        page.select_option("#by-kind", index=0)
        page.locator("#suspect").scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        keep(page.screenshot(), "audit-decide.png")


def keep(picture: bytes, name: str) -> None:
    """Save in 64 colours."""
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(64)
    image.save(HERE / "pictures" / name, optimize=True)


if __name__ == "__main__":
    main()
