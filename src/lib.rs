//! `dbd` deploys PostgreSQL migrations: rehearsed on real data, safe to kill anywhere, taken back by itself.

pub mod adapters;
pub mod domain;
