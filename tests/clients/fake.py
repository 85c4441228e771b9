"""What the fake engine answers, computed anew here: see `tests/src/fake/text.rs`."""

import sys
import traceback

import xxhash

WORDS = 60


def answer(*messages, seed=0, words=WORDS):
    """The answer to a conversation of (role, text) pairs."""
    turns = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages)
    return raw_answer(turns + "<|im_start|>assistant\n", seed, words)


def raw_answer(prompt, seed=0, words=WORDS):
    """The answer to a prompt without a template."""
    of_prompt = xxhash.xxh3_64_intdigest(prompt.encode(), seed)
    digits = (xxhash.xxh3_64_intdigest(index.to_bytes(8, "little"), of_prompt) & 0xFFFF for index in range(words))
    return "".join(f" w{index}-{four:04x}" for index, four in enumerate(digits))


def same(got, expected):
    """Fails with both sides when they differ."""
    assert got == expected, f"\n     got {got!r}\nexpected {expected!r}"


def run(scope):
    """Runs every `check_…` of a script, in order, and names those that fail."""
    checks = [check for name, check in scope.items() if name.startswith("check_")]
    failed = []
    for check in checks:
        try:
            check()
        except Exception:
            traceback.print_exc()
            failed.append(check.__name__)
    if failed:
        sys.exit(f"{len(failed)} of {len(checks)} failed: {', '.join(failed)}")
    print(f"{len(checks)} checks passed")
