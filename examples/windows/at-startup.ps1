# Start the agent with the host, as a service account without a desktop. Run once, as an administrator:
#
#     powershell -ExecutionPolicy Bypass -File at-startup.ps1 -Server af://farm:51000 -User STUDIO\render
#
# What it can do: it runs without a user who is logged on, and starts again after a failure.
# What it cannot do: session 0 has no desktop. Programs that open windows hang or fail, windows of users are not
# closed (af_render_windowsmustdie), drive letters of users are not there: use UNC paths in the paths map.
param(
    [Parameter(Mandatory)] [string] $Server,
    [Parameter(Mandatory)] [string] $User,
    [string] $Name = "trio_afrender"
)

$program = (Get-Command trio_afrender.exe -ErrorAction Stop).Source
$action = New-ScheduledTaskAction -Execute $program -Argument "agent --server $Server"
$trigger = New-ScheduledTaskTrigger -AtStartup
$password = Read-Host -AsSecureString "Password of $User"
$plain = [Runtime.InteropServices.Marshal]::PtrToStringAuto(
    [Runtime.InteropServices.Marshal]::SecureStringToBSTR($password))
$settings = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -MultipleInstances IgnoreNew `
    -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1) -AllowStartIfOnBatteries
Register-ScheduledTask -TaskName $Name -Action $action -Trigger $trigger -Settings $settings `
    -User $User -Password $plain -RunLevel Limited -Force
