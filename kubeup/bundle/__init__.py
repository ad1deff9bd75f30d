"""All that a cluster is made of in one signed file, for places that nothing can be fetched from.

``archive`` is the file: written, read and verified. ``sbom`` is its bill of materials, ``making`` puts one together.
"""

from kubeup.bundle.archive import Bundle, new_key, open_bundle

__all__ = ["Bundle", "new_key", "open_bundle"]
