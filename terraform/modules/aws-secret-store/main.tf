data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  id     = replace(var.name, "/", "-")
  region = data.aws_region.current.id

  # Secrets Manager tells no key for its own, so that to name it would be a change at every plan.
  is_awss = var.kms_key_arn == "aws/secretsmanager"
  key     = local.is_awss ? null : var.kms_key_arn != null ? var.kms_key_arn : module.kms[0].key_arn

  # Without the zip there is no function yet: the zip holds strongroom.toml, which this module puts out.
  package = try(var.rotation.package, null)

  # An optional attribute that is null takes its default, so that "" says none.
  tick = try(var.rotation.tick, "") == "" ? null : var.rotation.tick

  # Known before the rotation module makes it, since the key's policy lets CloudWatch encrypt this group alone.
  log_group = "/aws/lambda/${local.id}-rotation"

  keys = merge(
    { for region in [local.region] : region => local.key if !local.is_awss },
    { for region, replica in var.replicas : region => replica.kms_key_arn if replica.kms_key_arn != null },
  )
}

module "kms" {
  source = "./modules/kms"
  count  = var.kms_key_arn == null ? 1 : 0

  name       = var.name
  log_groups = local.package == null ? [] : [local.log_group]
  tags       = var.tags
}

module "secrets" {
  source = "./modules/secrets"

  name                 = var.name
  secrets              = var.secrets
  values               = var.values
  value_versions       = var.value_versions
  replicas             = var.replicas
  kms_key_arn          = local.key
  recovery_window_days = var.recovery_window_days
  tags                 = var.tags
}

module "iam" {
  source = "./modules/iam"

  name           = var.name
  account_id     = data.aws_caller_identity.current.account_id
  region         = local.region
  partition      = data.aws_partition.current.partition
  replicas       = keys(var.replicas)
  kms_key_arns   = local.keys
  ledger         = var.ledger
  readers        = var.readers
  rotators       = var.rotators
  administrators = var.administrators
  tags           = var.tags
}

module "network" {
  source = "./modules/network"
  count  = var.network == null ? 0 : 1

  name       = var.name
  vpc_id     = var.network.vpc_id
  subnet_ids = var.network.subnet_ids
  endpoints  = var.network.endpoints
  targets    = var.network.targets
  tags       = var.tags
}

module "rotation" {
  source = "./modules/rotation"
  count  = local.package == null ? 0 : 1

  name                    = var.name
  secrets                 = module.secrets.rotating
  package                 = local.package
  rotator_policy_arn      = module.iam.policy_arns["rotator"]
  function_policy_arns    = var.rotation.function_policy_arns
  schedule                = var.rotation.schedule
  window                  = var.rotation.window
  rotate_immediately      = var.rotation.rotate_immediately
  tick                    = local.tick
  python                  = var.rotation.python
  architecture            = var.rotation.architecture
  timeout_seconds         = var.rotation.timeout_seconds
  memory_mib              = var.rotation.memory_mib
  environment             = var.rotation.environment
  reserved_concurrency    = var.rotation.reserved_concurrency
  code_signing_config_arn = var.rotation.code_signing_config_arn
  log_retention_days      = var.rotation.log_retention_days
  log_kms_key_arn         = var.kms_key_arn == null ? local.key : var.rotation.log_kms_key_arn
  vpc                     = one(module.network[*].vpc)
  tags                    = var.tags
}

module "alarms" {
  source = "./modules/alarms"
  count  = local.package == null ? 0 : 1

  name               = var.name
  function_name      = module.rotation[0].function_name
  dead_letter_name   = module.rotation[0].dead_letter_name
  alarm_actions      = var.alarm_actions
  overdue_after_days = local.tick == null || var.rotation.overdue_after_days == 0 ? null : var.rotation.overdue_after_days
  tags               = var.tags
}
