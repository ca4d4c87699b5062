output "alarm_arns" {
  description = "ARNs of the alarms, by what they tell: failed, errors, dead, overdue."
  value = merge({
    failed = aws_cloudwatch_metric_alarm.failed.arn
    errors = aws_cloudwatch_metric_alarm.errors.arn
    dead   = aws_cloudwatch_metric_alarm.dead.arn
  }, { for alarm in aws_cloudwatch_metric_alarm.overdue : "overdue" => alarm.arn })
}

output "rule_arn" {
  description = "ARN of the rule that sees failed and abandoned rotations, for a topic's policy."
  value       = aws_cloudwatch_event_rule.failed.arn
}
