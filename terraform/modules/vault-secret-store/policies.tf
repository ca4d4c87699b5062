module "policies" {
  source = "./modules/policies"

  name       = var.name
  mount      = var.mount.path
  ledger     = var.ledger
  replicated = var.replicated
  transit    = var.encrypt ? { path = local.transit_path, key = local.key_name } : null
}

resource "vault_policy" "this" {
  for_each = {
    reader        = module.policies.reader_policy
    rotator       = module.policies.rotator_policy
    administrator = module.policies.administrator_policy
  }

  namespace = var.namespace
  name      = "${local.alias}-${each.key}"
  policy    = each.value
}
