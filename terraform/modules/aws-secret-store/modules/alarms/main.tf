locals {
  id = replace(var.name, "/", "-")

  # A rule's target can be a topic whose policy lets EventBridge publish; other actions hear by the alarm alone.
  topics = { for position, arn in var.alarm_actions : tostring(position) => arn if try(split(":", arn)[2], "") == "sns" }
}

# Needs a trail of CloudTrail that logs management events: EventBridge has these events from there.
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/monitoring-eventbridge.html
resource "aws_cloudwatch_event_rule" "failed" {
  name        = "${local.id}-rotation-failed"
  description = "A rotation of the Strongroom store ${var.name} failed or was given up"
  event_pattern = jsonencode({
    source      = ["aws.secretsmanager"]
    detail-type = ["AWS Service Event via CloudTrail"]
    detail = {
      eventSource = ["secretsmanager.amazonaws.com"]
      eventName   = ["RotationAbandoned", "RotationFailed"]
      # The service's own events name a secret by its ARN; other stores of the region have alarms of their own.
      additionalEventData = { SecretId = [{ wildcard = "arn:*:secret:${var.name}/*" }] }
    }
  })
  tags = var.tags
}

resource "aws_cloudwatch_event_target" "failed" {
  for_each = local.topics

  rule = aws_cloudwatch_event_rule.failed.name
  arn  = each.value
}

resource "aws_cloudwatch_metric_alarm" "failed" {
  alarm_name          = "${local.id}-rotation-failed"
  alarm_description   = "Secrets Manager gave up a rotation: strongroom rotation status says where it stopped."
  namespace           = "AWS/Events"
  metric_name         = "TriggeredRules"
  dimensions          = { RuleName = aws_cloudwatch_event_rule.failed.name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${local.id}-rotation-errors"
  alarm_description   = "The rotation function failed; its log says in which step."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = var.function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "dead" {
  alarm_name          = "${local.id}-rotation-dead-letters"
  alarm_description   = "An event was given up after its retries; read it, mend the cause, and purge the queue."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = var.dead_letter_name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  tags                = var.tags
}

# The function tells at each tick how old the oldest value is. Silence for three hours is an alarm too: nothing
# would rotate, and no event would say so.
resource "aws_cloudwatch_metric_alarm" "overdue" {
  count = var.overdue_after_days == null ? 0 : 1

  alarm_name          = "${local.id}-rotation-overdue"
  alarm_description   = "A value is older than ${coalesce(var.overdue_after_days, 0)} days, or the function has told nothing for three hours."
  namespace           = "Strongroom"
  metric_name         = "OldestValueAge"
  dimensions          = { FunctionName = var.function_name }
  statistic           = "Maximum"
  period              = 3600
  evaluation_periods  = 3
  datapoints_to_alarm = 3
  threshold           = coalesce(var.overdue_after_days, 0) * 86400
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_actions
  tags                = var.tags
}
