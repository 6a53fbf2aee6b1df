"""The closed sets: every reason, state and step has one spelling, fit for a metric label and a Kafka header."""

from enum import StrEnum


class Step(StrEnum):
    """The five steps of the line, in order."""

    SOURCE = "source"
    FETCH = "fetch"
    ENRICH = "enrich"
    GATE = "gate"
    PUBLISH = "publish"


class SetAside(StrEnum):
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


class Answer(StrEnum):
    """What the content API had to say about a revision. All but `TEXT` are answers that there is no text for us."""

    TEXT = "text"
    HIDDEN = "hidden"  # revision-deleted or suppressed text
    MISSING = "missing"  # deleted with its page, or never there
    SHA1_MISMATCH = "sha1_mismatch"  # what came is not what the event announced
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"  # asked until patience ended
    NOT_ASKED = "not_asked"  # the event itself says that the text is not visible


class State(StrEnum):
    """Where an edit stands under one policy. PENDING is the only state that can go to any other."""

    PENDING = "pending"
    RELEASED = "released"
    WITHHELD = "withheld"
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"


class Bar(StrEnum):
    """Why an edit was withheld or retracted."""

    REVERTED = "reverted"
    PAGE_DELETED = "page_deleted"
    SUPPRESSED = "suppressed"


class SignalKind(StrEnum):
    """What the gate heard about an edit."""

    IDENTITY_REVERT = "identity_revert"  # a later revision has the SHA-1 of an earlier one
    DECLARED_REVERT = "declared_revert"  # `revision.revert` of the reverting edit
    REVERTED_TAG = "reverted_tag"  # `mw-reverted` was added
    PAGE_DELETE = "page_delete"
    HIDE = "hide"
