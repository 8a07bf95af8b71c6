//! The connection table as its callers see it.

#[cfg(test)]
mod attack;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod fragments;
#[cfg(test)]
mod icmp;
#[cfg(test)]
mod model;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod quota;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod slots;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tcp;
#[cfg(test)]
mod timing;
