//! A fake of authentication: its gRPC interface with fixed replies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};
use uuid::Uuid;
use weft_mesh::Caller;
use weft_mesh::caller::Role;
use weft_proto::weft::auth::v1::auth_service_server::AuthService;
use weft_proto::weft::auth::v1::{self as proto, *};
use weft_runtime::clock::{Clock as _, SystemClock};

pub(crate) const EMAIL: &str = "ada@example.com";
pub(crate) const PASSWORD: &str = "tulips in a blue vase 1887";
pub(crate) const USER: &str = "0191d4b0-7d2a-7c3e-8f00-000000000001";
pub(crate) const SESSION: &str = "0191d4b0-7d2a-7c3e-8f00-000000000002";
/// The token of a reset link.
pub(crate) const RESET_TOKEN: &str = "a-token-of-a-reset-link";
pub(crate) const ISSUER: &str = "weft:tests/one";

/// Recorded requests, and the state that decides the replies.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) sign_ins: Mutex<Vec<SignInRequest>>,
    pub(crate) sign_outs: Mutex<Vec<(Option<Caller>, SignOutRequest)>>,
    pub(crate) key_fetches: Mutex<u32>,
    pub(crate) user_fetches: Mutex<u32>,
    /// The caller's session has ended.
    pub(crate) session_over: Mutex<bool>,
    /// The caller's role was reduced to `user`.
    pub(crate) demoted: Mutex<bool>,
    pub(crate) resets: Mutex<Vec<RequestPasswordResetRequest>>,
    /// `revoke` of each request to rotate the signing keys.
    pub(crate) rotations: Mutex<Vec<bool>>,
    /// The created users by id; `None` if deleted.
    created: Mutex<HashMap<String, Option<CreateUserRequest>>>,
    /// Seeds of the published signing keys.
    pub(crate) seeds: Mutex<Vec<u8>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Authentication(pub(crate) Arc<Seen>);

fn after(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: SystemClock.now().as_second() + seconds, nanos: 0 })
}

fn user(email: &str) -> Option<User> {
    Some(User {
        id: USER.into(),
        email: email.into(),
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        active: true,
        role: proto::Role::User.into(),
        created_at: after(-60),
        updated_at: after(-60),
    })
}

fn tokens(refresh: &str) -> Option<Tokens> {
    Some(Tokens {
        access_token: token(Role::User),
        access_expires_at: after(300),
        refresh_token: refresh.into(),
        session_expires_at: after(3_600),
        session_id: SESSION.into(),
    })
}

fn signed_in<T>(request: &Request<T>) -> Result<Caller, Status> {
    Caller::from_metadata(request.metadata()).unwrap().ok_or_else(|| Status::unauthenticated("not signed in"))
}

fn admin<T>(request: &Request<T>) -> Result<(), Status> {
    match signed_in(request)?.role {
        Role::Admin => Ok(()),
        Role::User | Role::Viewer => Err(Status::permission_denied("the caller is not an admin")),
    }
}

fn limited() -> Status {
    let mut status = Status::resource_exhausted("too many attempts; try again after the time in Retry-After");
    status.metadata_mut().insert("retry-after", "17".parse().unwrap());
    status
}

impl Authentication {
    /// An existing user: the usual one, or one that was created.
    fn known(&self, id: &str) -> Result<User, Status> {
        if id != USER && !matches!(self.0.created.lock().unwrap().get(id), Some(Some(_))) {
            return Err(Status::not_found("user not found"));
        }
        Ok(User { id: id.to_owned(), ..user(EMAIL).unwrap_or_default() })
    }
}

#[tonic::async_trait]
impl AuthService for Authentication {
    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInResponse>, Status> {
        let request = request.into_inner();
        self.0.sign_ins.lock().unwrap().push(request.clone());
        if request.email == "limited@example.com" {
            return Err(limited());
        }
        if (request.email.as_str(), request.password.as_str()) != (EMAIL, PASSWORD) {
            return Err(Status::unauthenticated("no such user or a wrong password"));
        }
        Ok(Response::new(SignInResponse { user: user(EMAIL), tokens: tokens("refresh-1") }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        match request.into_inner().refresh_token.as_str() {
            "refresh-1" => {
                Ok(Response::new(RefreshResponse { user: user(EMAIL), tokens: tokens("refresh-2") }))
            }
            _ => Err(Status::unauthenticated("revoked")),
        }
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Result<Response<SignOutResponse>, Status> {
        let caller = Caller::from_metadata(request.metadata()).unwrap();
        self.0.sign_outs.lock().unwrap().push((caller, request.into_inner()));
        if *self.0.session_over.lock().unwrap() {
            return Err(Status::unauthenticated("the session has ended"));
        }
        Ok(Response::new(SignOutResponse { ended: 1 }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let caller = signed_in(&request)?;
        let session = Session {
            id: caller.session,
            created_at: after(-60),
            last_used_at: after(-1),
            expires_at: after(3_600),
            client_address: "192.0.2.1".into(),
            user_agent: "test".into(),
            current: true,
        };
        Ok(Response::new(ListSessionsResponse { sessions: vec![session] }))
    }

    async fn revoke_session(
        &self,
        request: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        signed_in(&request)?;
        match request.into_inner().session_id.as_str() {
            SESSION => Ok(Response::new(RevokeSessionResponse {})),
            _ => Err(Status::not_found("session not found")),
        }
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        signed_in(&request)?;
        match request.into_inner().current_password.as_str() {
            PASSWORD => Ok(Response::new(ChangePasswordResponse {})),
            _ => Err(Status::permission_denied("the current password is wrong")),
        }
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        *self.0.user_fetches.lock().unwrap() += 1;
        let caller = signed_in(&request)?;
        if *self.0.session_over.lock().unwrap() {
            return Err(Status::unauthenticated("the session has ended"));
        }
        let role = match caller.role {
            _ if *self.0.demoted.lock().unwrap() => proto::Role::User,
            Role::User => proto::Role::User,
            Role::Viewer => proto::Role::Viewer,
            Role::Admin => proto::Role::Admin,
        };
        let user = user(EMAIL).map(|user| User { role: role.into(), ..user });
        Ok(Response::new(GetUserResponse { user }))
    }

    async fn create_user(
        &self,
        request: Request<CreateUserRequest>,
    ) -> Result<Response<CreateUserResponse>, Status> {
        admin(&request)?;
        let request = request.into_inner();
        if request.email == EMAIL {
            return Err(Status::already_exists("another user has this email"));
        }
        let id = request.id.clone();
        match self.0.created.lock().unwrap().entry(id).or_insert_with(|| Some(request.clone())) {
            Some(first) if *first == request => {}
            Some(_) => {
                return Err(Status::failed_precondition(
                    "the user with this id was created with other content",
                ));
            }
            None => return Err(Status::not_found("the user with this id was deleted")),
        }
        let user = user(&request.email).map(|user| User { id: request.id, ..user });
        Ok(Response::new(CreateUserResponse { user, created: true }))
    }

    async fn deactivate_user(
        &self,
        request: Request<DeactivateUserRequest>,
    ) -> Result<Response<DeactivateUserResponse>, Status> {
        admin(&request)?;
        let user = self.known(&request.into_inner().user_id)?;
        Ok(Response::new(DeactivateUserResponse { user: Some(User { active: false, ..user }) }))
    }

    async fn update_user(
        &self,
        request: Request<UpdateUserRequest>,
    ) -> Result<Response<UpdateUserResponse>, Status> {
        admin(&request)?;
        let UpdateUserRequest { user_id, role, first_name, last_name } = request.into_inner();
        let user = self.known(&user_id)?;
        let user = User {
            role: role.unwrap_or(user.role),
            first_name: first_name.unwrap_or(user.first_name),
            last_name: last_name.unwrap_or(user.last_name),
            ..user
        };
        Ok(Response::new(UpdateUserResponse { user: Some(user) }))
    }

    async fn reactivate_user(
        &self,
        request: Request<ReactivateUserRequest>,
    ) -> Result<Response<ReactivateUserResponse>, Status> {
        admin(&request)?;
        let user = self.known(&request.into_inner().user_id)?;
        Ok(Response::new(ReactivateUserResponse { user: Some(user) }))
    }

    async fn delete_user(
        &self,
        request: Request<DeleteUserRequest>,
    ) -> Result<Response<DeleteUserResponse>, Status> {
        admin(&request)?;
        let id = request.into_inner().user_id;
        self.known(&id)?;
        if id == USER {
            return Err(Status::failed_precondition("this is the last active admin"));
        }
        self.0.created.lock().unwrap().insert(id, None);
        Ok(Response::new(DeleteUserResponse {}))
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        let request = request.into_inner();
        if request.email == "limited@example.com" {
            return Err(limited());
        }
        self.0.resets.lock().unwrap().push(request);
        Ok(Response::new(RequestPasswordResetResponse {}))
    }

    async fn start_password_reset(
        &self,
        request: Request<StartPasswordResetRequest>,
    ) -> Result<Response<StartPasswordResetResponse>, Status> {
        admin(&request)?;
        self.known(&request.into_inner().user_id)?;
        Ok(Response::new(StartPasswordResetResponse {}))
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        match request.into_inner().token.as_str() {
            RESET_TOKEN => Ok(Response::new(ResetPasswordResponse {})),
            _ => Err(Status::not_found("this link is not valid")),
        }
    }

    async fn list_users(
        &self,
        request: Request<ListUsersRequest>,
    ) -> Result<Response<ListUsersResponse>, Status> {
        admin(&request)?;
        let next_cursor = if request.into_inner().limit == 1 { "next".into() } else { String::new() };
        Ok(Response::new(ListUsersResponse { users: user(EMAIL).into_iter().collect(), next_cursor }))
    }

    async fn rotate_signing_keys(
        &self,
        request: Request<RotateSigningKeysRequest>,
    ) -> Result<Response<RotateSigningKeysResponse>, Status> {
        admin(&request)?;
        self.0.rotations.lock().unwrap().push(request.into_inner().revoke);
        Ok(Response::new(RotateSigningKeysResponse { key_id: SESSION.into(), signs_from: after(0) }))
    }

    async fn get_signing_keys(
        &self,
        _: Request<GetSigningKeysRequest>,
    ) -> Result<Response<GetSigningKeysResponse>, Status> {
        *self.0.key_fetches.lock().unwrap() += 1;
        let keys: Vec<Value> = self.0.seeds.lock().unwrap().iter().map(|seed| public_key(*seed)).collect();
        Ok(Response::new(GetSigningKeysResponse { jwks: json!({ "keys": keys }).to_string() }))
    }
}

fn public_key(seed: u8) -> Value {
    let x = URL_SAFE_NO_PAD.encode(SigningKey::from_bytes(&[seed; 32]).verifying_key().as_bytes());
    json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": format!("key-{seed}"), "x": x})
}

/// A valid token with this role.
pub(crate) fn token(role: Role) -> String {
    forged(1, |_, claims| claims["role"] = json!(role.as_str()))
}

/// A token signed with the key of this seed, with changes to header and claims.
pub(crate) fn forged(seed: u8, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let now = SystemClock.now().as_second();
    let mut header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("key-{seed}")});
    let mut claims = json!({
        "iss": ISSUER, "aud": "weft-broker", "sub": USER, "sid": SESSION, "role": "user", "email": EMAIL,
        "iat": now, "nbf": now, "exp": now + 300, "jti": Uuid::new_v4(),
    });
    change(&mut header, &mut claims);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&claims));
    let signature = SigningKey::from_bytes(&[seed; 32]).sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}
