data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  function = "${replace(var.name, "/", "-")}-rotation"
  service  = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role"

  # Where the SDK's own search for settings is not enough: never a value, since who may see the function sees these.
  environment = length(var.environment) > 0 ? [var.environment] : []
}

# Times out, or fails three times, and the event would be gone: a timer's, which Lambda takes before it runs.
resource "aws_sqs_queue" "dead" {
  name                      = "${local.function}-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = var.tags
}

resource "aws_cloudwatch_log_group" "function" {
  name              = "/aws/lambda/${local.function}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_kms_key_arn
  tags              = var.tags
}

resource "aws_iam_role" "function" {
  name        = local.function
  description = "Rotates the secrets of the Strongroom store ${var.name}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy_attachment" "rotator" {
  role       = aws_iam_role.function.name
  policy_arn = var.rotator_policy_arn
}

resource "aws_iam_role_policy_attachment" "more" {
  for_each = var.function_policy_arns

  role       = aws_iam_role.function.name
  policy_arn = each.value
}

# AWS names the actions by which Lambda enters a VPC, and they change; they can be confined to no resource.
resource "aws_iam_role_policy_attachment" "vpc" {
  count = var.vpc == null ? 0 : 1

  role       = aws_iam_role.function.name
  policy_arn = "${local.service}/AWSLambdaVPCAccessExecutionRole"
}

resource "aws_iam_role_policy" "function" {
  name = "logs-and-dead-letters"
  role = aws_iam_role.function.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "WriteItsLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.function.arn}:*"]
      },
      {
        Sid      = "KeepWhatFailed"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.dead.arn]
      },
    ]
  })
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_117: vpc is the caller's to give; what rotates over public endpoints needs none
  #checkov:skip=CKV_AWS_272: code_signing_config_arn is the caller's to give, who has the signing profile
  #checkov:skip=CKV_AWS_173: the environment names places and holds no secret; Lambda encrypts it under its own key

  function_name    = local.function
  description      = "Rotates the secrets of the Strongroom store ${var.name}"
  role             = aws_iam_role.function.arn
  filename         = var.package
  source_code_hash = filebase64sha256(var.package)
  handler          = var.handler
  runtime          = "python${var.python}"
  architectures    = [var.architecture]
  timeout          = var.timeout_seconds
  memory_size      = var.memory_mib

  reserved_concurrent_executions = var.reserved_concurrency
  code_signing_config_arn        = var.code_signing_config_arn
  tags                           = var.tags

  dead_letter_config {
    target_arn = aws_sqs_queue.dead.arn
  }

  tracing_config {
    mode = "PassThrough"
  }

  dynamic "environment" {
    for_each = local.environment

    content {
      variables = environment.value
    }
  }

  dynamic "vpc_config" {
    for_each = var.vpc == null ? [] : [var.vpc]

    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  # Made first, the function would make a log group of its own, in clear and for ever.
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.function]
}

resource "aws_lambda_permission" "secrets_manager" {
  statement_id   = "SecretsManagerRotates"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.this.function_name
  principal      = "secretsmanager.amazonaws.com"
  source_account = data.aws_caller_identity.current.account_id
}

resource "aws_secretsmanager_secret_rotation" "this" {
  #checkov:skip=CKV_AWS_304: the check reads automatically_after_days alone; schedule says how often, 30 days by itself
  for_each = var.secrets

  secret_id           = each.value
  rotation_lambda_arn = aws_lambda_function.this.arn
  rotate_immediately  = var.rotate_immediately

  rotation_rules {
    schedule_expression = var.schedule
    duration            = var.window
  }

  depends_on = [
    aws_iam_role_policy_attachment.rotator,
    aws_iam_role_policy_attachment.more,
    aws_iam_role_policy_attachment.vpc,
    aws_lambda_permission.secrets_manager,
  ]
}

# Ends graces in time, and tells how old the oldest value is: Secrets Manager calls for rotations alone.
resource "aws_cloudwatch_event_rule" "tick" {
  count = var.tick == null ? 0 : 1

  name                = "${local.function}-tick"
  description         = "Wakes the rotation function for what is due between rotations"
  schedule_expression = var.tick
  tags                = var.tags
}

resource "aws_cloudwatch_event_target" "tick" {
  count = var.tick == null ? 0 : 1

  rule = aws_cloudwatch_event_rule.tick[0].name
  arn  = aws_lambda_function.this.arn
}

resource "aws_lambda_permission" "tick" {
  count = var.tick == null ? 0 : 1

  statement_id  = "ATimerTicks"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.tick[0].arn
}
