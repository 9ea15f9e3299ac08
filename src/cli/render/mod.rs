//! Values as text, Markdown and JSON. Nothing here decides or prints; the caller sends the result to its stream.

pub mod comparison;
