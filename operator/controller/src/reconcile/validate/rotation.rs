//! How far new credentials of a managed store are. All of it follows from two Secrets: that which opens the store, and that of the
//! next user, which also says whose place it takes.

use super::Run;
use crate::reconcile::dereference::{FoundNext, FoundRotation, Holder, NewUser};

/// New credentials of a managed store, under way.
#[derive(Clone, Debug)]
pub struct Rotation {
    pub step: RotationStep,
    /// The service that knows the store: its image is what the Jobs run.
    pub owner: Run,
    /// The uid of the volume with the store's data.
    pub volume: Option<String>,
    /// It is not the volume on which the present user got its rights.
    pub is_moved: bool,
}

/// What is due.
#[derive(Clone, Debug)]
pub enum RotationStep {
    /// The superuser is being written down: what it is to do comes after.
    Written,
    /// The present user stays, and is to have its rights from the owner's image.
    Make { holder: Box<Holder> },
    /// Nobody is to come yet: this user is written down.
    Begin { former: String, user: NewUser },
    /// The store is to know the next user, who then takes over.
    Grant { holder: Box<Holder>, next: Box<Holder> },
    /// Everybody moves to the new user, and then the former one goes.
    Retire { next: Holder },
    /// Who was to come was to take another's place, or has taken that of the superuser, who stays.
    Discard { next: Holder },
    /// Something else has the name of the next user's Secret.
    InTheWay { next: Holder },
}

pub(super) fn step(stack: &str, found: FoundRotation) -> RotationStep {
    let FoundRotation { holder, next, superuser, volume: _ } = found;
    match next {
        FoundNext::Same => RotationStep::Make { holder: Box::new(holder) },
        FoundNext::Fresh(user) => RotationStep::Begin { former: holder.username, user },
        FoundNext::Kept(next) if next.stack.as_deref() != Some(stack) => RotationStep::InTheWay { next },
        FoundNext::Kept(next) if next.username == holder.username && next.former != Some(superuser) => {
            RotationStep::Retire { next }
        }
        FoundNext::Kept(next) if next.former.as_ref() == Some(&holder.username) => {
            RotationStep::Grant { holder: Box::new(holder), next: Box::new(next) }
        }
        FoundNext::Kept(next) => RotationStep::Discard { next },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::ContentDigest;

    fn holder(username: &str, former: Option<&str>) -> Holder {
        Holder {
            name: "postgres".to_owned(),
            uid: String::new(),
            resource_version: String::new(),
            stack: Some("shop".to_owned()),
            username: username.to_owned(),
            password: String::new(),
            former: former.map(str::to_owned),
            rotated_at: None,
            granted_by: None,
            granted_on: None,
            digest: ContentDigest::default(),
        }
    }

    #[test]
    fn the_two_secrets_say_how_far_it_is() {
        let found = |now: &str, superuser: &str, next| FoundRotation {
            holder: holder(now, None),
            next,
            superuser: superuser.to_owned(),
            volume: None,
        };
        assert!(matches!(
            step("shop", found("weft", "weft_admin", FoundNext::Same)),
            RotationStep::Make { .. }
        ));
        let of_superuser = found("weft_2", "weft", FoundNext::Kept(holder("weft_2", Some("weft"))));
        assert!(matches!(step("shop", of_superuser), RotationStep::Discard { .. }), "the superuser stays");
        let step = |now: &str, next| step("shop", found(now, "weft_admin", FoundNext::Kept(next)));
        let next = || holder("weft_2", Some("weft"));
        assert!(matches!(step("weft", next()), RotationStep::Grant { .. }));
        assert!(matches!(step("weft_2", next()), RotationStep::Retire { .. }));
        assert!(
            matches!(step("weft_1", next()), RotationStep::Discard { .. }),
            "another Secret was put there"
        );
        let others = Holder { stack: None, ..next() };
        assert!(matches!(step("weft", others), RotationStep::InTheWay { .. }));
    }
}
