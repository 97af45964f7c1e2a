//! A container's files, from outside: copying out and in, exporting, what has
//! changed, and making an image of it. All of it with a container that runs or
//! does not.

mod changes;
mod commit;
mod copy_in;
mod copy_out;
mod view;

pub(crate) use commit::CommitOptions;
pub(crate) use copy_in::CopyInOptions;
