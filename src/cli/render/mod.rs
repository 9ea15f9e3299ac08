//! Values as text, Markdown, HTML, CSV and JSON. Nothing here decides or prints; the caller sends the result to its stream.

pub mod audit;
pub mod check;
pub mod comparison;
pub mod document;
pub mod drift;
pub mod facts;
pub mod list;
pub mod log;
pub mod report;
pub mod run;
pub mod show;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
pub mod timeline;
pub mod words;
