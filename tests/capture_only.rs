#![allow(dead_code)]
mod capture;
mod support;
