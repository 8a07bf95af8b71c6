//! Which bytes break a promise? The harness behind the fuzz targets, and their replay.
#![forbid(unsafe_code)]
