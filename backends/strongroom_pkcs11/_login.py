"""Whether a session is logged in: C_GetSessionInfo, which python-pkcs11 does not offer."""

from __future__ import annotations

import ctypes
from typing import Any, Final

_GET_SESSION_INFO: Final = 15  # its place in CK_FUNCTION_LIST, PKCS #11 2.40, section 3.6
_USER_STATES: Final = (1, 3)  # CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * 68))


class _SessionInfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_ulong) for name in ("slot", "state", "flags", "device_error"))


def is_logged_in(path: str, session: Any) -> bool:
    """Whether the token's user is logged in, in the module at `path`, which is loaded and initialised."""
    functions = ctypes.POINTER(_FunctionList)()
    if ctypes.CDLL(path).C_GetFunctionList(ctypes.byref(functions)):
        return False
    call = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p)
    get_session_info = call(functions.contents.functions[_GET_SESSION_INFO])
    info = _SessionInfo()
    return not get_session_info(session.handle, ctypes.byref(info)) and info.state in _USER_STATES
