module "policies" {
  source = "./modules/policies"

  name           = var.name
  project_number = local.number
  ledger         = var.ledger
}

locals {
  members = {
    reader        = var.readers
    rotator       = concat(var.rotators, [for account in google_service_account.rotator : "serviceAccount:${account.email}"])
    administrator = var.administrators
  }

  # By their place in the list: the address of a service account of the same plan is known after it alone.
  bindings = merge(flatten([
    for name, grant in module.policies.grants : [
      for at, member in local.members[grant.role] : { "${name} ${at}" = { grant = name, member = member } }
    ]
  ])...)
}

resource "google_project_iam_custom_role" "this" {
  for_each = module.policies.grants

  project     = var.project
  role_id     = "${replace(replace(local.alias, "-", "_"), ".", "_")}_${each.key}"
  title       = "Strongroom ${var.name} ${each.key}"
  description = "The ${replace(each.key, "_", " ")} of the Strongroom store ${var.name}"
  permissions = each.value.permissions
}

resource "google_project_iam_member" "this" {
  for_each = local.bindings

  project = var.project
  role    = google_project_iam_custom_role.this[each.value.grant].id
  member  = each.value.member

  dynamic "condition" {
    for_each = compact([module.policies.grants[each.value.grant].condition])
    content {
      title       = "${local.alias}-${replace(each.value.grant, "_", "-")}"
      description = "What is of ${var.name} alone"
      expression  = condition.value
    }
  }
}
