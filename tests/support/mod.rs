//! What several tests need.

pub mod bouncer;
pub mod pg;
pub mod project;
pub mod proxy;
pub mod room;
