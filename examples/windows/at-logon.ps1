# Start the agent when a user logs on: a scheduled task in that user's session. Run once, as that user:
#
#     powershell -ExecutionPolicy Bypass -File at-logon.ps1 -Server af://farm:51000
#
# What it can do: it has the user's desktop, so programs that open windows work, windows are closed by title
# (af_render_windowsmustdie), mapped drives and the GPU are those of the user.
# What it cannot do: it runs only while the user is logged on. Log on at start (Autologon of Sysinternals), or use
# at-startup.ps1. At logoff and shutdown the agent stops its tasks and gives them back.
param([Parameter(Mandatory)] [string] $Server, [string] $Name = "trio_afrender")

$program = (Get-Command trio_afrender.exe -ErrorAction Stop).Source
$action = New-ScheduledTaskAction -Execute $program -Argument "agent --server $Server"
$trigger = New-ScheduledTaskTrigger -AtLogOn -User "$env:USERDOMAIN\$env:USERNAME"
# No time limit, no second copy, again a minute after a failure.
$settings = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -MultipleInstances IgnoreNew `
    -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1) -AllowStartIfOnBatteries
Register-ScheduledTask -TaskName $Name -Action $action -Trigger $trigger -Settings $settings -Force
