//! The engine as its users see it.

mod linear;
mod random;
mod rules;
mod words;
