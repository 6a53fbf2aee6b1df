"""The closed sets: every reason, state and step has one spelling, fit for a metric label and a Kafka header."""

from enum import StrEnum


class _Word(StrEnum):
    """Hashes as the text that it is: an enumeration's own hash is a call in Python, and words are looked up often."""

    __hash__ = str.__hash__


class Step(_Word):
    """The five steps of the line, in order."""

    SOURCE = "source"
    FETCH = "fetch"
    ENRICH = "enrich"
    GATE = "gate"
    PUBLISH = "publish"


class SetAside(_Word):
    """Why a message went to the dead-letter topic."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_SCHEMA = "unknown_schema"
    TOO_LARGE = "too_large"
    SHA1_MISMATCH = "sha1_mismatch"
    CONTENT_UNAVAILABLE = "content_unavailable"
    UNPARSEABLE = "unparseable"
    WRONG_RECORD = "wrong_record"


class Answer(_Word):
    """What the content API had to say about a revision. All but `TEXT` are answers that there is no text for us."""

    TEXT = "text"
    HIDDEN = "hidden"  # revision-deleted or suppressed text
    MISSING = "missing"  # deleted with its page, or never there
    SHA1_MISMATCH = "sha1_mismatch"  # what came is not what the event announced
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"  # asked until patience ended
    NOT_ASKED = "not_asked"  # the event itself says that the text is not visible


class State(_Word):
    """Where an edit stands under one policy. PENDING is the only state that can go to any other."""

    PENDING = "pending"
    RELEASED = "released"
    WITHHELD = "withheld"
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"


class Bar(_Word):
    """Why an edit was withheld or retracted."""

    REVERTED = "reverted"
    PAGE_DELETED = "page_deleted"
    SUPPRESSED = "suppressed"
    RISK = "risk"
    UNREVIEWED = "unreviewed"
    EDIT_WAR = "edit_war"
    EDITOR_BLOCKED = "editor_blocked"
    TAINTED = "tainted"
    COVERAGE_GAP = "coverage_gap"


class SignalKind(_Word):
    """What the gate heard about an edit."""

    IDENTITY_REVERT = "identity_revert"  # a later revision has the SHA-1 of an earlier one
    DECLARED_REVERT = "declared_revert"  # `revision.revert` of the reverting edit
    REVERTED_TAG = "reverted_tag"  # `mw-reverted` was added
    PAGE_DELETE = "page_delete"
    HIDE = "hide"
    BLOCK = "block"  # its editor was blocked after it
    RISK = "risk"  # a model's score
    PATROL = "patrol"
    APPROVE = "approve"  # FlaggedRevs; UNAPPROVE takes it back
    UNAPPROVE = "unapprove"
    OTHER_EDITOR = "other_editor"  # somebody else edited the page after it
    LATER_EDIT = "later_edit"  # the page was not quiet yet
    EDIT_WAR = "edit_war"
    TAINT = "taint"  # it stands on an edit that is barred
    COVERAGE_GAP = "coverage_gap"
    RESTORES = "restores"  # its text is the one that is out already


# What every rule listens for.
BASE_SIGNALS = (
    SignalKind.IDENTITY_REVERT,
    SignalKind.DECLARED_REVERT,
    SignalKind.REVERTED_TAG,
    SignalKind.PAGE_DELETE,
    SignalKind.HIDE,
)


class EditorClass(_Word):
    """Who made an edit, as far as the event tells. NEW: registered, fewer than 25 edits."""

    ANON = "anon"
    TEMP = "temp"
    NEW = "new"
    REGISTERED = "registered"
    TRUSTED = "trusted"  # sysop, patroller, reviewer, autoreview; or 500 edits and 90 days
    BOT = "bot"
    UNKNOWN = "unknown"
