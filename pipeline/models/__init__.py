"""Autoencoders that learn to reconstruct what is normal, and the bundles they are handed on in.

In: windows of scaled features with their masks. Out: a trained model as Keras and as ONNX, checked to
agree; a verified bundle; reconstructions. Importing this package imports no Keras: `architectures`,
`training` and `export` do; `bundle`, `reconstruct`, `process` and `windows` do not.
"""
