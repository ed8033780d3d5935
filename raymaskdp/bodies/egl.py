"""OpenGL without a screen (EGL): selection of the device, and the context."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from raymaskdp.errors import MachineError

# Shape suffixes: V vertices, H rows, W columns.

NEAR, FAR = 0.05, 100.0
"""Metres from the camera between which avatars are drawn."""


EGL_PACKAGES = "libegl1 libgl1 libgl1-mesa-dri"
"""The names of these libraries in Debian and Ubuntu."""


class GlContext:
    """An OpenGL context of EGL with pyrender's renderer in it.

    pyrender's own wrapper terminates the whole EGL display when it is deleted, and with it every other
    context of the process. This one deletes its own context only.
    """

    def __init__(self, device: Any, width: int, height: int) -> None:
        platform, renderer = _lasting_parts()
        self._platform = platform(width, height, device=device)
        self._platform.init_context()
        self._renderer = renderer(width, height)

    def render(self, scene: Any, flags: int, *, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        from pyrender import RenderFlags

        self._platform.make_current()
        self._renderer.viewport_width, self._renderer.viewport_height = width, height
        color, depth = self._renderer.render(scene, flags | RenderFlags.OFFSCREEN)
        return color, depth

    def delete(self) -> None:
        from OpenGL import EGL

        self._platform.make_current()
        self._renderer.delete()
        display, context = self._platform._egl_display, self._platform._egl_context
        EGL.eglMakeCurrent(display, EGL.EGL_NO_SURFACE, EGL.EGL_NO_SURFACE, EGL.EGL_NO_CONTEXT)
        EGL.eglDestroyContext(display, context)


def _lasting_parts() -> tuple[Any, Any]:
    """pyrender's platform and renderer, changed in three ways.

    They do not clean up when they are garbage-collected, because that would terminate the display, and delete
    the buffers, of the renderer in use at that moment. Large regions have one sample a pixel, others four: in
    software rendering four samples double the cost, and in large images the difference is not visible. Depth
    is converted to metres in a few operations on the whole image.
    """
    from OpenGL import GL
    from pyrender.platforms.egl import EGLPlatform
    from pyrender.renderer import Renderer as GlRenderer

    class LastingPlatform(EGLPlatform):
        def __del__(self) -> None:
            pass

    class SamplingRenderer(GlRenderer):
        def __del__(self) -> None:
            pass

        def _configure_main_framebuffer(self) -> None:
            before = self._main_fb_dims if self._main_fb is not None else None
            super()._configure_main_framebuffer()
            width, height = self._main_fb_dims
            if before != (width, height) and width * height > _LARGE:
                for buffer, kind in (
                    (self._main_cb_ms, GL.GL_RGBA),
                    (self._main_db_ms, GL.GL_DEPTH_COMPONENT24),
                ):
                    GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, buffer)
                    GL.glRenderbufferStorageMultisample(GL.GL_RENDERBUFFER, 0, kind, width, height)

        def _read_main_framebuffer(self, scene: Any, flags: int) -> tuple[np.ndarray, np.ndarray]:
            width, height = self._main_fb_dims
            rectangle = (0, 0, width, height)
            GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, self._main_fb_ms)
            GL.glBindFramebuffer(GL.GL_DRAW_FRAMEBUFFER, self._main_fb)
            both = GL.GL_COLOR_BUFFER_BIT | GL.GL_DEPTH_BUFFER_BIT
            GL.glBlitFramebuffer(*rectangle, *rectangle, both, GL.GL_NEAREST)
            GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, self._main_fb)
            depth = np.empty((height, width), np.float32)
            rgba = np.empty((height, width, 4), np.uint8)
            GL.glReadPixels(*rectangle, GL.GL_DEPTH_COMPONENT, GL.GL_FLOAT, depth)
            GL.glReadPixels(*rectangle, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE, rgba)
            depth *= np.float32((FAR - NEAR) / (FAR * NEAR))
            metres = np.reciprocal(np.subtract(np.float32(1 / NEAR), depth, out=depth), out=depth)
            metres[metres > 0.99 * FAR] = 0  # nothing was drawn
            return rgba[::-1], metres[::-1]

    return LastingPlatform, SamplingRenderer


_LARGE = 60_000


def load_pyrender() -> Any:
    # PyOpenGL reads the variable once, when it is first imported.
    os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
    try:
        import pyrender
        import pyrender.platforms.egl
    except (ImportError, OSError, AttributeError) as error:
        raise _no_egl(error) from error
    return pyrender


def start_context(width: int, height: int) -> GlContext:
    """A context on the first device that provides one; the assigned GPU is tried first."""
    load_pyrender()
    from OpenGL.error import Error
    from pyrender.platforms import egl

    try:
        devices = preferred_devices(egl.query_devices(), _cuda_index)
    except (Error, RuntimeError, TypeError, AttributeError) as error:
        raise _no_egl(error) from error
    failure: Exception = RuntimeError("EGL lists no device")
    for device in devices:
        try:
            return GlContext(device, width, height)
        except (Error, AssertionError, OSError, RuntimeError, TypeError) as error:
            failure = error
    raise _no_egl(failure) from failure


def preferred_devices(devices: Sequence[Any], cuda_index: Callable[[Any], int | None]) -> list[Any]:
    """Devices in the order in which they are tried.

    EGL has its own order of devices and does not know CUDA_VISIBLE_DEVICES, by which Ray assigns GPUs. A GPU
    is used only if it is the assigned one. Without an assigned GPU, and as a last resort, rendering is done
    in software.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    by_cuda = {device: cuda_index(device) for device in devices}
    software = [device for device, index in by_cuda.items() if index is None]
    gpus = sorted(
        ((index, device) for device, index in by_cuda.items() if index is not None), key=lambda gpu: gpu[0]
    )
    if visible is not None:
        wanted = [int(name) for name in visible.split(",") if name.strip().isdigit()]
        gpus = [(index, device) for index, device in gpus if index in wanted[:1]]
    return [device for _, device in gpus] + software


def _cuda_index(device: Any) -> int | None:
    """The CUDA index of an EGL device; None if it is not an NVIDIA GPU."""
    from OpenGL import EGL

    address = EGL.eglGetProcAddress("eglQueryDeviceAttribEXT")
    if not address or device._display is None:
        return None
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(address)
    value = ctypes.c_ssize_t(-1)
    found = query(device._display, _EGL_CUDA_DEVICE_NV, ctypes.byref(value))
    return int(value.value) if found and value.value >= 0 else None


_EGL_CUDA_DEVICE_NV = 0x323A


def _no_egl(error: Exception) -> MachineError:
    reason = " ".join(str(error).split())[:80]
    return MachineError(
        f"OpenGL cannot be started without a screen ({type(error).__name__}: {reason}); install EGL: "
        f"apt-get install {EGL_PACKAGES}."
    )
