//! Every test that needs more than one module: one binary, so that it links once.

mod capture;
mod cli;
mod compat;
mod crash;
mod postgres;
mod props;
mod runs;
mod support;
mod tidy;
mod tools;
