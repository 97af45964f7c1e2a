//! Tests of what is a function of its input, and of the whole network in the
//! kernel, as root, in a network and mount namespace of each test's own.

mod addresses;
mod attachments;
mod files;
mod lan;
mod names;
mod plans;
mod resolution;
mod sandbox;
mod several;
