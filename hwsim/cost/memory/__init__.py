"""Memory traffic, cycles and roofline of a layer on a systolic array behind one or two buffers and DRAM."""
