//! The first user: the Secret with email and password, and how authentication learns of it.

use super::deployment::Wiring;
use super::{Plan, secret};
use crate::reconcile::validate::{AdminCredentials, AdminPlan, FirstUser, Validated};

pub(super) fn add(plan: &mut Plan, stack: &Validated, admin: &AdminPlan) {
    if let AdminCredentials::Fresh { email, password } = &admin.credentials {
        plan.data_secrets.push(secret::admin(stack, &admin.secret, email, password));
    }
}

/// Tells authentication whom to make.
pub(super) fn wire(wiring: Wiring, stack: &Validated) -> Wiring {
    let FirstUser::Wanted(AdminPlan { secret, credentials }) = &stack.first_user else { return wiring };
    let digest = match credentials {
        AdminCredentials::Kept(digest) => digest.clone(),
        AdminCredentials::Fresh { email, password } => {
            secret::digest(&secret::admin(stack, secret, email, password).data.unwrap_or_default())
        }
    };
    wiring
        .told(&serde_json::json!(secret))
        .set_from("AUTH_FIRST_USER_EMAIL", secret, "email")
        .file("AUTH_FIRST_USER_PASSWORD_FILE", "admin", secret, "password", "password")
        .input(digest)
}
