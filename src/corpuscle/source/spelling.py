"""Spelling: what two labels have in common that differ by case, blanks or a joining mark alone.

Less counts as a difference here than between unlike labels, and more than to the eye: labels of one spelling are taken
as one, so whatever may carry a meaning stays.
"""

import re
import unicodedata

from corpuscle.source.labels import text_of

_NUMBER = re.compile(r"\s*-?(?:\d+(?:\.\d+)?|inf)\s*")
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d", "-"))
# A run of letters and signs that ends with a sign: each of its signs says what is there, as in CD4-CD8- T.
_SIGNED = re.compile(r"\S*[+-](?=[\s,;)\]]|$)")
# Between two letters or digits, or alone between blanks, a hyphen joins.
_JOINING = re.compile(r"(?<=[^\W_])-(?=[^\W_])|(?<=\s)-(?=\s)")
SIGN = "\N{MINUS SIGN}"


def spelling(label: str) -> str:
    r"""Return a label without what is easily written otherwise: case, blanks, underscores, dots, joining hyphens.

    Brackets are left out, too. All else stays: a plus, a minus that ends a word or a bracket (CD4- T), each minus of
    a run that ends with a sign (CD4-CD8- T), and marks that part two things (T/NK is not TNK) or doubt them (B?).
    Between digits, whatever parts them counts: 1-1 is not 11. Numbers keep their sign.

    Examples
    --------
    >>> [spelling(label) for label in ("CD4 T", "cd4-T", "Cd4_T.", "(CD4) T")]
    ['cd4t', 'cd4t', 'cd4t', 'cd4t']
    >>> [spelling(label) for label in ("CD4+ T", "CD4- T", "CD4-CD8- T", "CD4 (-) T", "T/NK", "T cells", "1.0", "-1")]
    ['cd4+t', 'cd4\u2212t', 'cd4\u2212cd8\u2212t', 'cd4\u2212t', 't/nk', 'tcells', '1', '-1']
    """
    if _NUMBER.fullmatch(label):
        return str(text_of(float(label)))
    text = re.sub(r"(?<=\d)[\s_.()\[\]]+(?=\d)", "\0", with_signs(label))
    return re.sub(r"[\s_.()\[\]]", "", text).replace("\0", ".") or label


def with_signs(label: str) -> str:
    r"""Return a label in small letters, with a minus sign for each hyphen that says what is not there, else a blank.

    Examples
    --------
    >>> with_signs("CD4\u2013CD8- T-cell")
    'cd4\u2212cd8\u2212 t cell'
    """
    text = unicodedata.normalize("NFKC", label).translate(_DASHES).casefold()
    return _JOINING.sub(" ", _SIGNED.sub(_with_signs, text)).replace("-", SIGN)


def _with_signs(run: re.Match[str]) -> str:
    # A hyphen alone between blanks parts words, and one at the beginning is no marker's.
    return run[0] if run[0] == "-" else run[0].replace("-", SIGN)
