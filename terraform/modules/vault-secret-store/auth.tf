locals {
  grants = {
    reader        = var.readers
    rotator       = var.rotators
    administrator = var.administrators
  }

  approles = {
    for role in toset(flatten(values(local.grants))) :
    role => [for grant, roles in local.grants : vault_policy.this[grant].name if contains(roles, role)]
  }

  approle_path = var.approle.create && length(local.approles) > 0 ? vault_auth_backend.approle[0].path : var.approle.path
}

resource "vault_auth_backend" "approle" {
  count = var.approle.create && length(local.approles) > 0 ? 1 : 0

  namespace = var.namespace
  type      = "approle"
  path      = var.approle.path
}

resource "vault_approle_auth_backend_role" "this" {
  for_each = local.approles

  namespace             = var.namespace
  backend               = local.approle_path
  role_name             = each.key
  token_policies        = each.value
  token_ttl             = var.approle.token_ttl
  token_max_ttl         = var.approle.token_max_ttl
  token_bound_cidrs     = var.approle.bound_cidrs
  bind_secret_id        = true
  secret_id_ttl         = var.approle.secret_id_ttl
  secret_id_bound_cidrs = var.approle.bound_cidrs
}

resource "vault_jwt_auth_backend" "this" {
  count = try(var.jwt.create, false) ? 1 : 0

  namespace              = var.namespace
  type                   = "jwt"
  path                   = var.jwt.path
  oidc_discovery_url     = var.jwt.discovery_url
  jwks_url               = var.jwt.jwks_url
  jwt_validation_pubkeys = var.jwt.public_keys
  bound_issuer           = var.jwt.issuer
}

resource "vault_jwt_auth_backend_role" "this" {
  for_each = var.jwt_roles

  namespace       = var.namespace
  backend         = try(vault_jwt_auth_backend.this[0].path, var.jwt.path)
  role_name       = each.key
  role_type       = "jwt"
  user_claim      = "sub"
  bound_audiences = each.value.audiences
  bound_subject   = each.value.subject
  bound_claims    = each.value.claims
  token_policies  = [for grant in each.value.grants : vault_policy.this[grant].name]
  token_ttl       = var.approle.token_ttl
  token_max_ttl   = var.approle.token_max_ttl
}
