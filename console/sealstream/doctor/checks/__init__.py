"""The checks, one idea a module; `sealstream.doctor.registry` lists them."""
