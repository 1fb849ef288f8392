"""Errors that a user may see: each says what is wrong and what to do next."""

from __future__ import annotations


class ClickSegError(Exception):
    """Base of every error raised on purpose by this package."""


class ImageError(ClickSegError, ValueError):
    """The image cannot be used (shape, dtype, channels, contrast)."""


class ClickError(ClickSegError, ValueError):
    """A click cannot be used (outside the image, unknown index, wrong sign)."""


class MaskError(ClickSegError, ValueError):
    """A mask or label image cannot be used (shape, dtype, empty object)."""


class SettingsError(ClickSegError, ValueError):
    """An option of prediction has a value that makes no sense."""


class ModelError(ClickSegError):
    """A model cannot do what was asked of it."""


class UnknownModelError(ModelError, ValueError):
    """No model of that name or path is known."""


class CheckpointError(ModelError, ValueError):
    """A weight file cannot be read, is refused, or does not fit its network."""


class EncoderMissingError(ModelError):
    """A model that holds no encoder was asked to encode an image."""


class FetchError(ModelError, OSError):
    """Weights could not be downloaded, or did not match their hash."""


class ConsentError(ModelError):
    """The terms of some weights have not been agreed to."""


class DeviceError(ClickSegError, ValueError):
    """A device or precision is unknown or not available here."""


class DatasetError(ClickSegError, ValueError):
    """A folder or file of images and masks is not laid out as expected."""


class SessionError(ClickSegError, ValueError):
    """A session file or a step of a session is not possible."""


class TrainingError(ClickSegError):
    """A training recipe or its data cannot be used."""


class RefinementError(ClickSegError, ValueError):
    """A layer cannot be put there, or nothing can be optimised through this module."""


class StoreError(ClickSegError, ValueError):
    """A feature store cannot be opened, or features cannot be kept in it."""


class ExportError(ClickSegError, ValueError):
    """A file cannot be written: there, of that kind, or with such values."""


class MissingPackageError(ClickSegError, ImportError):
    """A package that only this command needs is not installed."""


class InterruptedWorkError(ClickSegError):
    """The thread that works for a window was ended in the middle of a job."""


class Cancelled(ClickSegError):
    """The caller asked for the work to stop; nothing was changed."""
