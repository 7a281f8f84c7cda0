//! What an operator has to hold to before anyone leaves it alone: whatever fails, in whatever order, it ends where it would have
//! ended undisturbed, and then does nothing.

mod bad_input;
mod crash;
mod every_field;
mod idle;
mod lost_event;
mod old_list;
mod order;
mod second_actor;
mod watches;

pub(crate) use every_field::NEVER_AS_BEFORE;
