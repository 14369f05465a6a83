"""The .tflite format: flatbuffer reader, verifier, safety rules, sparsity, metadata."""
