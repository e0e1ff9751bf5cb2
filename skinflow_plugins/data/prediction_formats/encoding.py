"""Bytes of a text file as text: UTF-8, or UTF-16 with a byte order mark; nothing is guessed."""

from __future__ import annotations

import codecs
from pathlib import Path

from skinflow_plugins.errors import InputError, Problem

_BINARY = (
    (b"\xd0\xcf\x11\xe0", "an Excel file of the old kind", "save it as .xlsx"),
    (b"\x1f\x8b", "packed with gzip", "unpack it first"),
    (
        b"\x80\x04\x95",
        "a Python pickle, which is never opened: it could run anything",
        "write it as TSV or XLSX",
    ),
    (
        b"\x80\x05\x95",
        "a Python pickle, which is never opened: it could run anything",
        "write it as TSV or XLSX",
    ),
    (b"\xff\xfe\x00\x00", "UTF-32", "write it as UTF-8"),
    (b"%PDF", "a PDF", ""),
)
_SHOWN = 5  # line numbers in one message


def read_bytes(file: Path) -> bytes:
    """The content of a file that is there, is no folder and is not empty; else `InputError`."""
    if file.is_dir():
        raise InputError(Problem("is a folder; expected a file", str(file)))
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror or error}", str(file))) from error
    except ValueError as error:  # a NUL in the name
        raise InputError(Problem(f"is no file name: {error}", repr(str(file)))) from error
    if not data.strip():
        raise InputError(Problem("the file is empty", str(file)))
    return data


def decode(data: bytes, file: Path) -> str:
    """The text of a file; `InputError` names the line where it stops to be UTF-8."""
    where = str(file)
    for magic, what, hint in _BINARY:
        if data.startswith(magic):
            raise InputError(Problem(f"is {what}; expected text or XLSX", where, hint=hint))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            message = f"begins as UTF-16 but is not: {error.reason} at byte {error.start}"
            raise InputError(Problem(message, where, hint="write it again as UTF-8")) from error
    if len(data) > 3 and (not any(data[1:64:2]) or not any(data[:64:2])):
        message = "looks like UTF-16 without a byte order mark"
        raise InputError(Problem(message, where, hint="write it again as UTF-8"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig counts from behind the mark.
        start = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        raise InputError(_not_utf8(data, start, error.reason, file)) from error


def _not_utf8(data: bytes, start: int, reason: str, file: Path) -> Problem:
    bad, good = [], False
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            good = True
        except UnicodeDecodeError:
            bad.append(number)
    first = data.count(b"\n", 0, start) + 1
    more = ", ".join(map(str, bad[1:_SHOWN])) + (" and others" if len(bad) > _SHOWN else "")
    message = f"not UTF-8: {reason} {data[start]:#04x} at byte {start}" + (
        f"; also lines {more}" if more else ""
    )
    if good:  # it would be wrong to read the whole of it in another way
        hint = "other lines are UTF-8: the file mixes encodings; write those lines again as UTF-8"
    else:
        convert = f"iconv -f WINDOWS-1252 -t UTF-8 {file.name} > converted{file.suffix}"
        hint = f"often Windows' own encoding: {convert}"
    return Problem(message, str(file), first, hint=hint)
