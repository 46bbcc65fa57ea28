"""Without boto3."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
sys.modules["boto3"] = None
from luigi_ha.worker.targets import LocalTarget
try:
    from luigi_ha.worker.targets import S3Target
except ImportError as error:
    print(error)
"""


def test_local_targets_work_and_s3_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "S3Target needs boto3: pip install 'luigi-ha[s3]'\n"
