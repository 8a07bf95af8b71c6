//! The engine as its users see it.

mod linear;
mod random;
