//! Laws of the middle that only computes, tried on the product's own functions: no model beside them.

mod arbitrary;
mod codec;
mod decisions;
mod exhaustive;
mod fuzz;
mod histories;
mod matrix;
mod monitor;
pub mod samples;
mod sim;
