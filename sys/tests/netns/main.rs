//! Does the kernel do what this crate asks of it? In namespaces of its own; needs root, and says
//! loudly that nothing was tested without it.

#[cfg(test)]
mod datagrams;
#[cfg(test)]
mod forwards;
#[cfg(test)]
mod links;
#[cfg(test)]
mod masquerade;
#[cfg(test)]
mod names;
#[cfg(test)]
mod network;
#[cfg(test)]
mod reopen;
#[cfg(test)]
mod search;
#[cfg(test)]
mod superframes;
#[cfg(test)]
mod support;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tap;
#[cfg(test)]
mod tunnel;
