resource "vault_audit" "this" {
  for_each = var.audit

  namespace   = var.namespace
  path        = each.key
  type        = each.value.type
  options     = each.value.options
  description = "Every request, with values and tokens hashed"
}
