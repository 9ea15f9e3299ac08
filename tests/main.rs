//! Every test that needs more than one module: one binary, so that it links once.

mod compat;
mod postgres;
mod props;
mod support;
mod tools;
