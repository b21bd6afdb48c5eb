"""Trains the bundled query encoder, and those that miss a domain.

    python benchmarks/bundle.py --data ../shared/data --out .rankgate/bundle

Each training is one `rankgate train --method query` on train splits; a killed run goes on where
it stopped. What `benchmarks/default_policy.py` and `benchmarks/left_out.py` take as --encoders.
`without-encyclopedia-biomedicine` has nothing to learn from: the encoder itself reads there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from domains import LEARNED, TRAINED, domain_of, encoder_name

LICENCES = {
    "covid-qa": "Apache-2.0",
    "pubmedqa": "MIT",
    "medquad": "CC BY 4.0",
    "xquad-en": "CC BY-SA 4.0",
    "nq-oracle": "CC BY-SA 3.0",
}
LISTS = {"all": 3200, "without-encyclopedia": 2000, "without-biomedicine": 1500}


def command(name: str, left_out: tuple[str, ...], args: argparse.Namespace) -> list[str]:
    """The training of one query encoder."""
    sources = [c for c in LEARNED if domain_of(c) not in left_out]
    return [
        *(
            str(Path(sys.executable).with_name("rankgate")),
            "train",
            *(str(args.data / c) for c in sources),
        ),
        *(part for c in sources for part in ("--licence", f"{c}={LICENCES[c]}")),
        *("--out", str(args.out / name), "--method", "query", "--start", "minilm"),
        *("--lists", str(round(LISTS[name] * args.share)), "--epochs", "1"),
        *("--dev-questions", "60", "--kept-back", "80", "--evaluate-every", "1000"),
        *("--cache", str(args.cache), "--seed", str(args.seed), "--resume"),
    ]


def main() -> None:
    """Train all of them, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path(".rankgate/train"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="names of them; without it all")
    parser.add_argument("--share", type=float, default=1.0, help="of the lists (learning curve)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for left_out in ((), *((d,) for d in TRAINED)):
        name = encoder_name(*left_out)
        if args.only and name not in args.only:
            continue
        done = subprocess.run(command(name, left_out, args), check=False)
        if done.returncode not in (0, 6):  # 6: not better than its start on dev, which is said
            raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
