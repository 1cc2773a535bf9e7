"""What a family of faults came to: a row of the table in tests/README.md."""

from dataclasses import dataclass, field

COUNTED = ("lost", "hung", "executed", "unnamed")


@dataclass
class Tally:
    """Count what was tried and what went wrong.

    Attributes:
        family: of faults.
        what: was tried, in words.
        tried: how often.
        lost: results that differ from those without the fault, files left over, processes that
            outlived theirs, half a file taken as whole.
        hung: did not end within the time limit.
        executed: a planted payload left its mark.
        unnamed: ended by a traceback or a crash where a sentence should say what is wrong.
        cases: each of these by name.
        remark: what the numbers do not say.
    """

    family: str
    what: str
    tried: int = 0
    lost: int = 0
    hung: int = 0
    executed: int = 0
    unnamed: int = 0
    cases: list[str] = field(default_factory=list)
    remark: str = ""

    def note(self, kind: str, case: str) -> None:
        """Count one of `COUNTED`, with the case's name."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.cases.append(f"{kind}: {case}")

    @property
    def clean(self) -> bool:
        """Return whether something was tried and nothing went wrong."""
        return self.tried > 0 and not self.cases
