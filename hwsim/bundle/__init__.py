"""A design as a folder for others: Verilog with a testbench that checks itself, weights, bits and ONNX."""
