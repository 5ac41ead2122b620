"""XML files of annotation programs, read without risk."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from avgate.core.errors import CorpusError
from avgate.core.text import quoted


class _Builder(ET.TreeBuilder):
    """Refuses a document type, which these programs don't write: only there can entities be declared."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type")


def read_xml(path: Path, hint: str) -> ET.Element:
    """The root of an XML file.

    Files that say nothing of their encoding, or wrongly UTF-8, may be in Windows' cp1252.

    Raises:
        CorpusError: it can't be read, isn't XML, or declares a document type.
    """
    try:
        data = path.read_bytes()
        try:
            return _parsed(data)
        except ET.ParseError:
            data.decode("utf-8")  # if this works, the encoding isn't what is wrong
            raise
    except UnicodeDecodeError:
        try:
            return _parsed(data.decode("cp1252"))
        except (ET.ParseError, ValueError) as error:
            failure: Exception = error
    except (ET.ParseError, OSError, LookupError, ValueError) as error:
        failure = error
    raise CorpusError(f"it can't be read as XML: {quoted(str(failure))}", where=path, hint=hint) from failure


def _parsed(text: bytes | str) -> ET.Element:
    return ET.XML(text, ET.XMLParser(target=_Builder()))
