locals {
  # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html, of a managed policy.
  limit = 6144

  documents = {
    for role, statements in {
      reader        = local.reader
      rotator       = local.rotator
      administrator = local.administrator
    } : role => jsonencode({ Version = "2012-10-17", Statement = statements })
  }
}

locals {
  reader = concat(local.reading, local.finding, local.on_keys.reader)

  reading = [{
    Sid    = "ReadTheSecrets"
    Effect = "Allow"
    Action = [
      "secretsmanager:DescribeSecret",
      "secretsmanager:GetSecretValue",
      "secretsmanager:ListSecretVersionIds",
    ]
    Resource  = local.secrets
    Condition = { StringNotEquals = { "secretsmanager:VersionStage" = "AWSPENDING" } }
  }]

  # AWS has no finer grant for these two; a batch gives only what GetSecretValue gives one by one.
  finding = [{
    Sid       = "FindTheSecrets"
    Effect    = "Allow"
    Action    = ["secretsmanager:BatchGetSecretValue", "secretsmanager:ListSecrets"]
    Resource  = ["*"]
    Condition = { StringEquals = { "aws:RequestedRegion" = local.regions } }
  }]
}

locals {
  rotator = concat(
    local.rotating,
    local.recording,
    [for statement in local.following : statement if local.copied],
    local.on_keys.rotator,
  )

  rotating = [{
    Sid    = "RotateTheSecrets"
    Effect = "Allow"
    Action = [
      "secretsmanager:DescribeSecret",
      "secretsmanager:GetSecretValue",
      "secretsmanager:PutSecretValue",
      "secretsmanager:UpdateSecretVersionStage",
    ]
    Resource = ["${local.home}${var.name}/*"]
  }]

  recording = [for names in [local.ledger] : {
    Sid    = "KeepTheLedger"
    Effect = "Allow"
    Action = [
      "secretsmanager:CreateSecret",
      "secretsmanager:DescribeSecret",
      "secretsmanager:GetSecretValue",
      "secretsmanager:PutSecretValue",
      "secretsmanager:UpdateSecretVersionStage",
    ]
    Resource = names
  } if length(names) > 0]

  # Where there are copies each write takes its place in their order, beside the value that it replaced.
  following = [
    {
      Sid      = "KnowTheSource"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = ["${local.home}${local.digest_key}", "${local.home}${local.sheet}"]
    },
    {
      Sid      = "SeeWhatWasBefore"
      Effect   = "Allow"
      Action   = ["secretsmanager:ListSecretVersionIds"]
      Resource = ["${local.home}${var.name}/*"]
    },
    {
      Sid      = "KeepTheOrder"
      Effect   = "Allow"
      Action   = ["secretsmanager:CreateSecret", "secretsmanager:GetSecretValue"]
      Resource = ["${local.home}${local.pages}"]
    },
  ]
}

locals {
  administrator = concat(
    local.administrating,
    local.finding,
    [for statement in concat(local.copying, local.ordering) : statement if local.copied],
    local.on_keys.administrator,
  )

  administrating = [{
    Sid    = "AdministrateTheSecrets"
    Effect = "Allow"
    Action = [
      "secretsmanager:CreateSecret",
      "secretsmanager:DeleteSecret",
      "secretsmanager:DescribeSecret",
      "secretsmanager:GetSecretValue",
      "secretsmanager:ListSecretVersionIds",
      "secretsmanager:PutSecretValue",
      "secretsmanager:RestoreSecret",
      "secretsmanager:TagResource",
      "secretsmanager:UntagResource",
      "secretsmanager:UpdateSecretVersionStage",
    ]
    Resource = local.secrets
  }]

  copying = [
    {
      Sid    = "CopyTheSecrets"
      Effect = "Allow"
      Action = [
        "secretsmanager:DeleteResourcePolicy",
        "secretsmanager:GetResourcePolicy",
        "secretsmanager:PutResourcePolicy",
        "secretsmanager:ReplicateSecretToRegions",
      ]
      Resource = ["${local.home}${var.name}/*"]
    },
    {
      Sid      = "TakeTheCopiesOver"
      Effect   = "Allow"
      Action   = ["secretsmanager:StopReplicationToReplica", "secretsmanager:UpdateSecret"]
      Resource = flatten([for place in local.away : ["${place}${var.name}/*", "${place}${local.digest_key}"]])
    },
  ]

  ordering = [
    {
      Sid    = "KeepTheOrder"
      Effect = "Allow"
      Action = [
        "secretsmanager:CreateSecret",
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
      ]
      Resource = flatten([for place in values(local.at) : ["${place}${local.sheet}", "${place}${local.pages}"]])
    },
    {
      Sid    = "MakeTheDigestKey"
      Effect = "Allow"
      Action = [
        "secretsmanager:CreateSecret",
        "secretsmanager:ReplicateSecretToRegions",
      ]
      Resource = ["${local.home}${local.digest_key}"]
    },
    {
      Sid      = "UseTheDigestKey"
      Effect   = "Allow"
      Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
      Resource = [for place in values(local.at) : "${place}${local.digest_key}"]
    },
  ]
}
