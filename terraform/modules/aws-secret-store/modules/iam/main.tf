locals {
  principals = {
    reader        = var.readers
    rotator       = var.rotators
    administrator = var.administrators
  }

  attachments = merge([
    for role, arns in local.principals : { for arn in arns : "${role} ${arn}" => { role = role, arn = arn } }
  ]...)

  documents = {
    reader        = module.policies.reader_policy
    rotator       = module.policies.rotator_policy
    administrator = module.policies.administrator_policy
  }
}

module "policies" {
  source = "../policies"

  name         = var.name
  account_id   = var.account_id
  region       = var.region
  partition    = var.partition
  replicas     = var.replicas
  kms_key_arns = var.kms_key_arns
  ledger       = var.ledger
}

resource "aws_iam_policy" "this" {
  for_each = toset(["reader", "rotator", "administrator"])

  name        = "${replace(var.name, "/", "-")}-${var.region}-${each.key}"
  description = "The ${each.key} of the Strongroom store ${var.name} in ${var.region}"
  policy      = local.documents[each.key]
  tags        = var.tags
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = local.attachments

  role       = reverse(split("/", each.value.arn))[0]
  policy_arn = aws_iam_policy.this[each.value.role].arn
}
