"""What the tests of the views share lies in `view_samples`, a plain module beside them; tests of faults import tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
