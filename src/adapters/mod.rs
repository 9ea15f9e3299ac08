//! The rim that acts: each adapter speaks to one kind of thing outside this process, and knows none of the others.

pub mod commands;
pub mod git;
pub mod pg_tools;
pub mod sandbox;
pub mod support;
